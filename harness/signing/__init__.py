"""Signing: keys, and statements in signed envelopes, as cosign, model_signing and in-toto read them.

keys        a key pair, made and loaded: from a file, the environment, or hardware by its URI
envelope    a DSSE envelope in a Sigstore bundle: written, and read strictly
statement   an in-toto Statement v1
"""
