"""Find what nobody needs any more, and end it after a second look. Start with `sweeper.py`.

`inventory` says what there is, each file of `rules/` what of it is an orphan and how that is ended,
`marks` what an earlier look has found, `claims` what is ours at all.
"""
