"""ntspool: the NTS-KE pool front end that puts a fleet of NTP servers behind one name."""

__version__ = "0.1.0"
