//! What Linux makes unsafe, made safe once.
