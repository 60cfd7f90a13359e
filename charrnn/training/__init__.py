"""Training: options and a session (`options`, `session`), preparation of a run (`setup`, `presets`, `planning`,
`forecast`), and the loop that yields events (`loop`, `trainer`, `schedule`, `checkpointing`, `events`)."""
