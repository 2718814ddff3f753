"""The examination of an NTS service: how it is observed from outside."""
