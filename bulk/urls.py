"""What of a URL may be shown."""

from urllib.parse import urlsplit


def without_password(url: str) -> str:
    """The URL without user, password and query, in which keys may stand, and without a slash at its end."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path.rstrip('/')}" if parts.scheme else url


def reason(error: Exception, url: str) -> str:
    """The first line of an error, without the user, the password and the query that it may repeat."""
    line = str(error).partition("\n")[0][:200] or type(error).__name__
    parts = urlsplit(url)
    for secret in (parts.netloc.rpartition("@")[0], parts.query, parts.password, parts.username):
        line = line.replace(secret, "…") if secret else line
    return line
