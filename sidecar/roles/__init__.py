"""Choose the role of each job and of each container, by the rules of SIDECAR_ROLES.

`rules` says what a rule is and which one matches. `document` reads the rules, whole, or gives one
line for every mistake. Nothing here calls AWS.
"""
