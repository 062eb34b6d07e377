//! Channels and endpoints over links, in both rpmsg roles.
#![no_std]
