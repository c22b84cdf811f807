"""Frames over a byte stream: channel, handshake, TLS, metering. It knows no cryptography of ours."""
