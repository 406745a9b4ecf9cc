"""The one place where configuration becomes a running application."""
