# %% [markdown]
# # A tour of charrnn
#
# Train a small character-level LSTM, sample from it, and look inside its cells. Run it as a script, or open it as a
# notebook (VS Code, Spyder and Jupytext read the percent format). It takes about ten seconds on a CPU.

# %%
import random
import textwrap
from pathlib import Path

import charrnn

# %% [markdown]
# ## A text
# Any file of UTF-8 text will do. This one is random prose in wrapped lines, with parentheses.

# %%
WORDS = ["rain", "snow", "wind", "light", "paper", "river", "window", "garden", "letter", "summer", "winter", "silver"]
draw = random.Random(1)


def phrase() -> str:
    words = " ".join(draw.choices(WORDS, k=draw.randint(2, 5)))
    return draw.choice(["{}.", "({})"]).format(words)


paragraphs = (textwrap.fill(" ".join(phrase() for _ in range(12)), 60) + "\n\n" for _ in range(2000))
Path("book.txt").write_text("".join(paragraphs), encoding="utf-8")

# %% [markdown]
# ## Train
# `charrnn.train` is what the command line runs. It chooses what is not given, and calls `on_event` with its progress.

# %%
losses = []


def watch(event: object) -> None:
    if type(event).__name__ == "Evaluated":
        losses.append(event.validation_nats)


model = charrnn.train("book.txt", steps=900, hidden_size=48, evaluations=4, seed=1, on_event=watch)
print(model)
print("validation loss:", " → ".join(f"{loss:.3f}" for loss in losses), "nats")

# %% [markdown]
# ## Sample

# %%
print(model.sample("rain ", length=200, temperature=0.7, seed=1))
for text in model.sample("(", n=3, length=60, stop=")", seed=2):
    print("-", text.strip())

# %% [markdown]
# ## Score
# Nats per character, bits per character and perplexity; `score.nats` has one value for each character.

# %%
for text in ("river rain. (light snow)", "river rain) .light snow("):
    print(repr(text), model.score(text))

# %% [markdown]
# ## Trace
# Every state and gate of every cell, at every character.

# %%
trace = model.trace("wind light. (snow paper river) garden letter.")
print(trace)
print("c of all cells:", trace["c"].shape)
print("the forget gate of cell 1:7:", trace["1:7", "forget"][:5].round(2))

# %% [markdown]
# ## Find interpretable cells
# Which cells track a property of the text? The search selects cells on one half of the held-out text, judges them on
# the other, and compares them with untrained networks, 5-grams and meaningless labels.

# %%
with charrnn.progress_bar() as bar:
    findings = model.discover(properties=["inside parentheses", "line position", r"rain=rain"], progress=bar)
print(findings)

# %%
cell = max(findings.evidence, key=lambda evidence: evidence.rank_correlation).cell
print("the best candidate is cell", cell)
trace.show(cell)

# %% [markdown]
# ## Clamp a cell
# A clamped model is a model like any other. Held at the value that it has inside parentheses, the cell makes the model
# close parentheses that it never opened.

# %%
held = model.clamp(cell, 0.9)
print(held)
print(f"{model.score().mean:.3f} → {held.score().mean:.3f} nats per character on the held-out text")
print(held.sample("rain ", length=100, seed=1))
