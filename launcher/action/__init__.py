"""The GitHub Action: `run` is its story, `inputs` reads what is asked for, `report` answers."""
