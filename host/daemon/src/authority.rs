//! Who may do what.
//!
//! On a session's bus everybody is the one user whose remotes these are. On the system's bus root may do everything, and of
//! everybody else polkit is asked; where no polkit is on that bus, the members of one group may do what root may.
//!
//! The daemon asks before it looks at what a method was given. Properties, signals and introspection are open to whom the
//! policy of the bus lets speak with it: that a remote exists, what it is called and which state it is in is no secret, as it
//! is none of a system's services. What a remote says, and what is in its memory, has its action.

use std::collections::HashMap;
use std::time::Duration;

use sidecore_dbus::{Error, action};
use zbus::fdo::{ConnectionCredentials, DBusProxy};
use zbus::message::{Flags, Header};
use zbus::{Connection, fdo};
use zbus_polkit::policykit1::{AuthorityProxy, CheckAuthorizationFlags, Subject};

/// How long polkit may take to answer by itself.
const PROMPT: Duration = Duration::from_secs(25);
/// How long it may take where it asks a person.
const PATIENCE: Duration = Duration::from_secs(5 * 60);

/// Who may do what.
#[derive(Debug)]
pub(crate) struct Authority(Option<System>);

/// What decides on the system's bus.
#[derive(Debug)]
struct System {
    connection: Connection,
    /// The group of [`action::GROUP`], where there is one.
    group: Option<u32>,
}

impl Authority {
    /// For a session, where the bus has let in nobody but the user.
    pub(crate) fn session() -> Self {
        Self(None)
    }

    /// For the system's bus.
    pub(crate) fn system(connection: &Connection) -> Self {
        // Not later: a directory of users on a network may take its time.
        let group = nix::unistd::Group::from_name(action::GROUP).ok().flatten();
        Self(Some(System { connection: connection.clone(), group: group.map(|group| group.gid.as_raw()) }))
    }

    /// Whether the caller may do what `action`, one of [`action::ALL`], is about.
    ///
    /// # Errors
    /// [`Error::NotAuthorized`].
    pub(crate) async fn check(&self, header: &Header<'_>, action: &str) -> Result<(), Error> {
        match &self.0 {
            None => Ok(()),
            Some(system) => system.check(header, action).await,
        }
    }
}

impl System {
    async fn check(&self, header: &Header<'_>, action: &str) -> Result<(), Error> {
        let refused = |why: &str| Err(Error::NotAuthorized(format!("{action}: {why}")));
        let caller = match self.caller(header).await {
            Ok(caller) => caller,
            Err(error) => return refused(&format!("the bus does not tell who calls: {error}")),
        };
        let user = caller.unix_user_id();
        if user == Some(0) {
            return Ok(());
        }
        let who = user.map_or("an unknown user".to_owned(), |user| format!("user {user}"));
        match self.polkit(header, action).await {
            Polkit::Yes => Ok(()),
            Polkit::No => refused(&format!(
                "polkit does not allow it to {who}; `pkaction --verbose --action-id {action}` tells whom it does, and a \
                 rule in /etc/polkit-1/rules.d changes that"
            )),
            Polkit::Asks => refused(&format!(
                "polkit allows it to {who} after authentication, to which the call has to consent: with busctl by \
                 --allow-interactive-authorization=yes, on a terminal where an agent of polkit's runs"
            )),
            Polkit::Broken(why) => refused(&format!("polkit cannot be asked: {why}; root needs none")),
            Polkit::Absent if self.is_member(&caller) => Ok(()),
            Polkit::Absent => refused(&format!(
                "there is no polkit here, so it takes root or the group {group}, and {who} is neither; `usermod -a -G \
                 {group} USER`, and a new login, change that",
                group = action::GROUP
            )),
        }
    }

    async fn caller(&self, header: &Header<'_>) -> fdo::Result<ConnectionCredentials> {
        let sender =
            header.sender().ok_or_else(|| fdo::Error::Failed("the call has no sender".to_owned()))?;
        let bus = DBusProxy::new(&self.connection).await?;
        bus.get_connection_credentials(sender.clone().into()).await
    }

    fn is_member(&self, caller: &ConnectionCredentials) -> bool {
        let groups = caller.unix_group_ids();
        self.group.is_some_and(|group| groups.is_some_and(|groups| groups.contains(&group)))
    }

    async fn polkit(&self, header: &Header<'_>, action: &str) -> Polkit {
        let is_interactive = header.primary().flags().contains(Flags::ALLOW_INTERACTIVE_AUTH);
        let within = if is_interactive { PATIENCE } else { PROMPT };
        match tokio::time::timeout(within, self.ask(header, action, is_interactive)).await {
            Err(_) => Polkit::Broken(format!("it has not answered in {} seconds", within.as_secs())),
            Ok(Err(error)) if is_absent(&error) => Polkit::Absent,
            Ok(Err(error)) => Polkit::Broken(error.to_string()),
            Ok(Ok(polkit)) => polkit,
        }
    }

    async fn ask(&self, header: &Header<'_>, action: &str, is_interactive: bool) -> zbus::Result<Polkit> {
        let subject = Subject::new_for_message_header(header)
            .map_err(|error| zbus::Error::Failure(error.to_string()))?;
        let mut flags = CheckAuthorizationFlags::empty();
        flags.set(CheckAuthorizationFlags::ALLOW_USER_INTERACTION, is_interactive);
        let polkit = AuthorityProxy::new(&self.connection).await?;
        let result = polkit.check_authorization(&subject, action, &HashMap::new(), flags, "").await?;
        Ok(match (result.is_authorized, result.is_challenge) {
            (true, _) => Polkit::Yes,
            (false, true) => Polkit::Asks,
            (false, false) => Polkit::No,
        })
    }
}

/// What polkit says.
enum Polkit {
    Yes,
    No,
    /// It would ask a person.
    Asks,
    /// It is there, and says nothing.
    Broken(String),
    /// It is neither on the bus nor can the bus start it.
    Absent,
}

fn is_absent(error: &zbus::Error) -> bool {
    const ABSENT: [&str; 2] =
        ["org.freedesktop.DBus.Error.ServiceUnknown", "org.freedesktop.DBus.Error.NameHasNoOwner"];
    match error {
        zbus::Error::MethodError(name, ..) => ABSENT.contains(&name.as_str()),
        zbus::Error::FDO(error) => {
            matches!(**error, fdo::Error::ServiceUnknown(_) | fdo::Error::NameHasNoOwner(_))
        }
        _ => false,
    }
}
