# %% [markdown]
# # A tour of charrnn
#
# Train a small character-level LSTM, sample from it, and look inside its cells. Run it as a script, or open it as a
# notebook (VS Code, Spyder and Jupytext read the percent format). It takes about half a minute on two CPU cores.

# %%
import random
from pathlib import Path

import charrnn

# %% [markdown]
# ## A text
# Any file of UTF-8 text will do. This one is dialogue from a small grammar, so that it has quotes and parentheses.

# %%
NAMES = ["Anna", "Ben", "Clara", "David"]
WORDS = ["rain", "snow", "wind", "light", "paper", "river", "window", "garden", "letter", "summer", "winter", "silver"]
draw = random.Random(1)


def sentence() -> str:
    words = " ".join(draw.choices(WORDS, k=draw.randint(3, 8)))
    aside = f" ({' '.join(draw.choices(WORDS, k=draw.randint(2, 6)))})" if draw.random() < 0.5 else ""
    return f'{draw.choice(NAMES)} said: "The {words}."{aside}\n'


Path("book.txt").write_text("".join(sentence() for _ in range(3000)), encoding="utf-8")

# %% [markdown]
# ## Train
# `charrnn.train` is what the command line runs. It chooses what is not given, and calls `on_event` with its progress.

# %%
losses = []


def watch(event: object) -> None:
    if type(event).__name__ == "Evaluated":
        losses.append(event.validation_nats)


model = charrnn.train("book.txt", steps=400, hidden_size=64, evaluations=4, seed=1, on_event=watch)
print(model)
print("validation loss:", " → ".join(f"{loss:.3f}" for loss in losses), "nats")

# %% [markdown]
# ## Sample

# %%
print(model.sample("Anna said:", length=200, temperature=0.7, seed=1))
for text in model.sample('Ben said: "', n=3, length=60, stop="\n", seed=2):
    print("-", text.strip())

# %% [markdown]
# ## Score
# Nats per character, bits per character and perplexity; `score.nats` has one value for each character.

# %%
for text in ('Clara said: "The river rain."\n', "river rain Clara the said\n"):
    print(repr(text), model.score(text))

# %% [markdown]
# ## Trace
# Every state and gate of every cell, at every character.

# %%
trace = model.trace('David said: "The wind light." (snow paper)\n')
print(trace)
print("c of all cells:", trace["c"].shape)
print("the forget gate of cell 1:7:", trace["1:7", "forget"][:5].round(2))
trace.show("1:7")

# %% [markdown]
# ## Find interpretable cells
# Which cells track a property of the text? The search selects cells on one half of the held-out text, judges them on
# the other, and compares them with untrained networks, 5-grams and meaningless labels.

# %%
findings = model.discover(properties=["inside “…”", "inside parentheses", "line position", r"name=[A-Z][a-z]+"])
print(findings)

# %% [markdown]
# ## Clamp a cell
# A clamped model is a model like any other: hold a cell at a value and see what changes.

# %%
cell = max(findings.evidence, key=lambda evidence: abs(evidence.rank_correlation)).cell
held = model.clamp(cell, 0.9)
print(held)
print(f"{model.score().mean:.3f} → {held.score().mean:.3f} nats per character on the held-out text")
print(held.sample("Anna said:", length=100, seed=1))
