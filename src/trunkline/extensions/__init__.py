"""Extensions of the protocol, each self-contained; they do not import each other."""
