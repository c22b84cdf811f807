"""Tracing of a PyTorch module to a graph in which every ReLU is a node of its own, and the proof that both compute the
same.

``trace`` is the entry; ``functionalize`` and ``ops`` rewrite and normalize operations, ``shapes`` propagates sizes, and
``equivalence`` compares the traced graph with the module on random images.
"""
