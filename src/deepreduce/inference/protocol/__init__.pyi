from .linear import (
    Decrypted as Decrypted,
    OfflineLinear as OfflineLinear,
    OnlineLinear as OnlineLinear,
    add_uploads as add_uploads,
    encrypted_input as encrypted_input,
)
