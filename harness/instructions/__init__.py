"""Instructions per inference: the board that counts them, and the baselines that a person commits."""
