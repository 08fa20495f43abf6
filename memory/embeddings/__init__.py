"""Embedders, from text to vector: the lexical embedder, MiniLM on onnxruntime, and LangChain providers by name.

Owns no table. Called by the memory store, by knowledge and by the re-embedding in the background.
"""
