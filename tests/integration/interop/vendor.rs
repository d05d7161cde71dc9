//! The vendor's device SDK for Python, unmodified.
