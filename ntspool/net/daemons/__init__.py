"""The time daemons that an agent hands keys to, each as its documentation wants it."""
