"""One process in front of slow AI APIs: concurrent, durable, observable."""

__version__ = "0.1.0"
