//! The kinds of remote that sidecore can drive, one file each.
