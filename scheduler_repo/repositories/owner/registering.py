"""Owners, policies and quotas made sure of: what is missing is added, what differs is refused."""

from collections.abc import Sequence

from scheduler_repo.database.bulk import insert_missing
from scheduler_repo.database.engine import SASession
from scheduler_repo.database.lookups import require_owners
from scheduler_repo.database.statements import fetch_rows, load_statement
from scheduler_repo.entities.owner import KeypairSpec, OwnersSpec, ProjectSpec, UserSpec
from scheduler_repo.entities.quota import QuotaSpec
from scheduler_repo.entities.resource_policy import ResourcePolicySpec
from scheduler_repo.errors import OwnerAlreadyExists
from scheduler_repo.quoting import quoted, shortened
from scheduler_repo.repositories.quota.columns import QUOTA_COLUMNS, check_quota, quota_row
from scheduler_repo.repositories.quota.requiring import require_policies
from scheduler_repo.repositories.resource_policy.columns import POLICY_COLUMNS, check_policy, policy_row
from scheduler_repo.types import SlotName
from scheduler_repo.validation import check_ids, check_name, checked_batch, wrong_value

DIFFERING_OWNERS = load_statement("owner/differing_owners")


def check_owners(owners: object) -> None:
    """Raise InvalidInput for a spec of owners that names or holds what cannot be; asks nothing."""
    if not isinstance(owners, OwnersSpec):
        raise wrong_value(owners, "owners", "an OwnersSpec")
    checked_batch(owners.projects, ProjectSpec, "projects")
    checked_batch(owners.users, UserSpec, "users")
    checked_batch(owners.keypairs, KeypairSpec, "keypairs")
    for policy in checked_batch(owners.resource_policies, ResourcePolicySpec, "resource policies"):
        check_policy(policy)
    for quota in checked_batch(owners.quotas, QuotaSpec, "quotas"):
        check_quota(quota)
    for domain in owners.domains:
        check_name(domain, "domain")
    check_ids("project", [project.project_id for project in owners.projects])
    check_ids("user", [user.user_id for user in owners.users])
    check_ids("keypair's user", [keypair.user_id for keypair in owners.keypairs])
    for project in owners.projects:
        check_name(project.name, "project name")
        check_name(project.domain_name, "domain")
    for user in owners.users:
        check_name(user.name, "user name")
        check_name(user.domain_name, "domain")
    for keypair in owners.keypairs:
        check_name(keypair.access_key, "access key")


async def insert_owners(db_sess: SASession, owners: OwnersSpec, slot_names: Sequence[SlotName]) -> None:
    """Add the owners, policies and quotas that are missing, in the session's transaction.

    Raises OwnerAlreadyExists, OwnerNotFound and ResourcePolicyNotFound (of quotas), UnknownSlotType,
    InvalidQuantity, InvalidInput and what the database refuses. Costs at most nine statements.
    """
    policies = [policy_row(policy, slot_names) for policy in owners.resource_policies]
    quotas = [quota_row(quota, slot_names) for quota in owners.quotas]
    await insert_missing(db_sess, "domains", (("name", "text"),), [(name,) for name in owners.domains])
    named = (("id", "uuid"), ("name", "text"), ("domain_name", "text"))
    projects = [(project.project_id, project.name, project.domain_name) for project in owners.projects]
    await insert_missing(db_sess, "projects", named, projects)
    users = [(user.user_id, user.name, user.domain_name) for user in owners.users]
    await insert_missing(db_sess, "users", named, users)
    keypairs = [(keypair.access_key, keypair.user_id) for keypair in owners.keypairs]
    await insert_missing(db_sess, "keypairs", (("access_key", "text"), ("user_id", "uuid")), keypairs)
    if projects or users or keypairs:
        await _refuse_differing(db_sess, owners)
    await insert_missing(db_sess, "resource_policies", POLICY_COLUMNS, policies)
    if quotas:
        await require_policies(db_sess, owners.quotas)
        await require_owners(db_sess, [(quota.scope, quota.owner_id) for quota in owners.quotas])
        await insert_missing(db_sess, "quotas", QUOTA_COLUMNS, quotas, key_width=2)


async def _refuse_differing(db_sess: SASession, owners: OwnersSpec) -> None:
    """Raise OwnerAlreadyExists for the first owner that exists otherwise than it is given.

    A statement of its own, after those that add: it sees what another transaction added while they waited.
    """
    rows = await fetch_rows(
        db_sess,
        DIFFERING_OWNERS,
        [project.project_id for project in owners.projects],
        [project.name for project in owners.projects],
        [project.domain_name for project in owners.projects],
        [user.user_id for user in owners.users],
        [user.name for user in owners.users],
        [user.domain_name for user in owners.users],
        [keypair.access_key for keypair in owners.keypairs],
        [keypair.user_id for keypair in owners.keypairs],
    )
    for kind, owner_id, name, domain_name, user_id, given_name, given_domain_name, given_user_id in rows:
        found = f"{quoted(name, 200)} of domain {shortened(domain_name)}"
        given = f"{quoted(given_name, 200)} of domain {shortened(given_domain_name)}"
        if kind == "keypair":
            found, given = f"one of user {user_id}", f"one of user {given_user_id}"
        raise OwnerAlreadyExists(
            f"{kind} {owner_id} exists as {found}, it cannot be registered as {given}; give it as it is, or "
            "under another id; nothing was written"
        )
