"""Who may do what: identity, the one table of permissions, and the audit."""
