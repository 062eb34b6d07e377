//! The firmware side: entry, resource table, trace, console, files and endpoints for a coprocessor.
