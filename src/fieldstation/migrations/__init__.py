"""The one chain of schema changes, for the station's database and the telemetry's, on every
dialect."""
