"""The examination of an NTS service: what is asked, what the observations mean, what comes out."""
