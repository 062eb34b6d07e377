//! What a remote gets from the main side and the other way round: console, files.
#![no_std]
