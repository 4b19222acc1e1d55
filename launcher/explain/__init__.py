"""Tell the story of one job: what happened when, what decided it, and the first line that failed.

`target` reads what somebody asks about; `subject` finds its job; `gathering` asks each source;
`sources/` has one file for each of them, which reads facts and yields entries; `judging` adds what
only all of them together tell, orders the entries and finds the cause; `showing` prints the story.
`case` is what is known.
"""
