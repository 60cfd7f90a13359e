"""Where training begins: `vocabulary` turns characters into ids and back, `catalogue` knows corpora by name and fetches
or builds them, and `corpus` finds what a person asked for, reads it, and hands on ids, identity and the split.
"""
