"""Where training begins: `vocabulary` turns characters into ids and back, `catalog` knows corpora by name and fetches
or builds them, `sources` finds what a person asked for, and `corpus` reads it and hands on ids, identity and the split;
the ids of a large text lie in a file (`encoded`). Where a text is many, `documents` tells where each begins. What the
last few characters alone tell of the next is in `contexts`.
"""
