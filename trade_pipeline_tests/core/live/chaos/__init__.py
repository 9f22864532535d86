"""Live sessions against the local exchange under faults, and an audit of what came of them."""
