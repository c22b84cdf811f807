"""Computations that both parties make alike from a plan, so that their messages fit: order, packing, polynomials,
max-pooling.

Every constant here is an AGREEMENT: a client and a server that differ in one cannot talk to each other.
"""
