"""Files that are there only in part, as a power failure may leave them: what is read is told of, nothing is written."""

import asyncio
import os
import time

import pytest

from ntspool import config
from ntspool.app.certificates import load
from ntspool.app.operating import Operating
from ntspool.app.reporting import report_on
from ntspool.errors import ConfigError, LocalError, WireError
from ntspool.net import agentstate, authority, enrolment, turnstile
from ntspool.net.atomic import write_atomically
from ntspool.net.historywriter import HistoryWriter
from ntspool.net.keystore import KeyStore
from ntspool.net.peertoken import read_token
from ntspool.net.sealed import Seal, read_seal
from ntspool.net.store import FileStore
from ntspool.net.timeserver import load_cookie_jar
from ntspool.net.tsig import read_key
