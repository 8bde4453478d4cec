"""The HTTP routes of devices and their groups, gathered for the application."""

from fieldstation.domains.devices.routes import devices, groups

routers = (devices.router, groups.router)
