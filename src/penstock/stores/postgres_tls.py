"""What is said where TLS to PostgreSQL fails, and what to do. The driver reads ``sslmode`` and the files."""

import ssl
from typing import Final

_NO_CA: Final = "root certificate file"
"""How the driver begins, without a word of the URL, where ``sslmode`` wants a CA and none is found."""
_NO_TLS: Final = "rejected SSL upgrade"

WANTS_CA: Final = "its `sslmode` wants a CA: name its file in `store`, ?sslmode=verify-full&sslrootcert=FILE"


def lacks_ca(error: BaseException) -> bool:
    """Whether there is no CA to check the server's certificate by."""
    return str(error).startswith(_NO_CA)


def cure_of_tls(error: BaseException) -> str:
    """What to do; "" = it is not TLS that failed."""
    if isinstance(error, ssl.SSLCertVerificationError):
        if "mismatch" in error.verify_message:
            return "let `store` name it as its certificate does, or have it issued one for this name"
        return "let `store` name the file of its CA: ?sslmode=verify-full&sslrootcert=FILE"
    if isinstance(error, ssl.SSLError | FileNotFoundError):
        return "check the files that `store` names: sslrootcert, sslcert, sslkey"
    if isinstance(error, ConnectionError) and _NO_TLS in str(error):
        return "it has no TLS: set `ssl = on` there, or take `sslmode` out of `store`"
    return ""
