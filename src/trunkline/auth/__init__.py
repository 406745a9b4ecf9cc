"""Who calls, proved: the implementations of the `Authenticator` door."""
