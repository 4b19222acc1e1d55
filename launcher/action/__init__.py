"""The GitHub Action: `run` is its story, `inputs` what is asked for, `report` what is told."""
