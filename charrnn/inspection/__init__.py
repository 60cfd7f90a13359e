"""Looking inside a trained network: every gate and state at every character of a text (`trace`), what the text itself
is doing there (`properties`, with a programming language's own tokens from `source_code`), how well the one follows the
other and what that is worth (`statistics`), and the search for cells that deserve a name (`discovery`): what else
explains a cell (`confounds`), when a name is earned (`naming`), and what was found, as data (`findings`). Beside it
looks at single cells or all of them: how often gates are shut or open (`saturation`), what marks a piece of text
(`likeness`), a cell's portrait (`portrait`) and its life through the checkpoints (`history`). And what becomes of the
rest where a cell is held at one value (`interventions`)."""
