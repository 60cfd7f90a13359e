"""From a text's ids to a trained network: streams and windows (`batches`; of `documents`), the choice of settings
(`presets`) and the loss that they will come to (`forecast`), the run begun or opened again (`start`), the loop that
yields events (`loop`, with its `optimizer`), alone or as ranks (`distributed`), and what to change next time
(`advice`)."""
