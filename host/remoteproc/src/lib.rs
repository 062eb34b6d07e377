//! The life of a remote processor: firmware, resource table, states, backends.
