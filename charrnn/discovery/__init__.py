"""Search for cells that track a property of the text: data, scores, baselines, evidence, verdicts."""
