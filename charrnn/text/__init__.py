"""Text as ids: vocabularies, corpora and where to find them, documents, and n-gram contexts."""
