//! The manual page, made from the same text as the help.

use std::io::{self, Write as _};

use clap::Command;
use clap_mangen::Man;

/// What the help has no place for.
const MORE: &str = r#".SH FILES
.TP
\fI/etc/sidecore/sidecored.toml\fR, \fI/etc/sidecore/sidecored.toml.d/*.toml\fR
What the daemon is told to do, see \fBsidecored.toml\fR(5). With \fB\-\-session\fR all of that is in
\fI$XDG_CONFIG_HOME/sidecore\fR.
.TP
\fI/run/sidecore\fR, \fI$XDG_RUNTIME_DIR/sidecore\fR
The sockets of the wardens of its remotes.
.TP
\fI/var/lib/sidecore\fR
State.
.SH ENVIRONMENT
.TP
\fBDBUS_SYSTEM_BUS_ADDRESS\fR, \fBDBUS_SESSION_BUS_ADDRESS\fR
The bus that it is on, where that is not the usual one.
.TP
\fBNOTIFY_SOCKET\fR, \fBWATCHDOG_USEC\fR, \fBLISTEN_FDS\fR
What a service manager says: whom to tell of readiness and signs of life, and what it kept over a restart.
.SH SIGNALS
.TP
\fBSIGTERM\fR, \fBSIGINT\fR
End.
.SH AUTHORIZATION
On the system's bus \fBpolkit\fR(8) decides, by the actions \fBorg.sidecore.sidecore1.*\fR, which \fBpkaction\fR(1) lists. Where
there is none, root and the members of the group \fBsidecore\fR may do everything, and nobody else anything.
.SH SEE ALSO
\fBsidecore\fR(1), \fBsidecored.toml\fR(5), \fBpkaction\fR(1), \fBsystemd.service\fR(5)
"#;

/// Writes the page to the standard output.
///
/// # Errors
/// It cannot be written to.
pub(crate) fn print(command: Command) -> io::Result<()> {
    let mut page = Vec::new();
    Man::new(command).manual("sidecore").render(&mut page)?;
    page.extend_from_slice(MORE.as_bytes());
    io::stdout().lock().write_all(&page)
}
