"""What stands between a connection and the store: options, commands, feeds, heartbeats."""

__version__ = "0.4.0"
