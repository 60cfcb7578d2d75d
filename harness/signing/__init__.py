"""Signing: keys, and statements in signed envelopes, as cosign, model_signing and in-toto read them.

keys        a key pair, made and loaded: from a file, the environment, or hardware by its URI
envelope    a DSSE envelope in a Sigstore bundle: written, and read strictly
statement   an in-toto Statement v1

Beside them: public_key, private_key and hardware (where a key comes from), pkcs8 (how it is encrypted), passphrase
(asked for, and kept out of tracebacks), bounded_file and strict_json (how what others wrote is read).
"""
