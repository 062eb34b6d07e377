//! A remote as an application sees it: firmware, rings, endpoints and services joined.
