"""The GitHub Action: `run` is its story, `inputs` what a workflow says, `report` what it is told."""
