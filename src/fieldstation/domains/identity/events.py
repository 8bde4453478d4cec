"""What identity announces."""

from datetime import datetime

from fieldstation.core.events import Event


class CredentialRevoked(Event, frozen=True, kw_only=True, tag=True):
    """Every caller with this subject ends now; ``revocation_id`` names the row for other nodes.

    A subject is the id of a user, key, device, organization, access token or token family, or
    ``user:organization``. ``changed:<id>`` ends nobody: it only makes remembered facts stale.
    """

    revocation_id: str
    subject: str
    at: datetime
