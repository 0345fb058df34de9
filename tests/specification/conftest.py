"""A cluster for sessions: one group, one agent, one owner of each kind."""

from uuid import uuid4

import pytest

from scheduler_repo import (
    AccessKey,
    AgentId,
    AgentSpec,
    Architecture,
    DomainName,
    KernelSpec,
    KeypairSpec,
    OwnersSpec,
    ProjectId,
    ProjectSpec,
    Repositories,
    ScalingGroupName,
    ScalingGroupSpec,
    SessionCreationSpec,
    SessionType,
    SlotName,
    SlotTypeSpec,
    UserId,
    UserSpec,
)

CPU = SlotName("cpu")


@pytest.fixture
async def spec(repositories: Repositories) -> SessionCreationSpec:
    """A session that can be created, in a cluster that is there."""
    group, lab, key = ScalingGroupName("default"), DomainName("lab"), AccessKey("AKIAIOSFODNN7EXAMPLE")
    user, project = UserId(uuid4()), ProjectId(uuid4())
    owners = OwnersSpec(
        domains=(lab,),
        users=(UserSpec(user_id=user, name="ada", domain_name=lab),),
        projects=(ProjectSpec(project_id=project, name="vision", domain_name=lab),),
        keypairs=(KeypairSpec(access_key=key, user_id=user),),
    )
    await repositories.owners.register_owners(owners)
    await repositories.scaling_groups.register_slot_types([SlotTypeSpec(name=CPU, units_per_whole=1000)])
    await repositories.scaling_groups.create_scaling_groups([ScalingGroupSpec(name=group)])
    agent = AgentSpec(
        agent_id=AgentId("node-1"),
        scaling_group=group,
        address="10.0.0.1:6001",
        architecture=Architecture("x86_64"),
        capacity={CPU: 64_000},
    )
    await repositories.agents.register_agents([agent])
    return SessionCreationSpec(
        name="train",
        scaling_group=group,
        access_key=key,
        user_id=user,
        project_id=project,
        domain_name=lab,
        session_type=SessionType.INTERACTIVE,
        kernels=(KernelSpec(image="python:3.11", requested_slots={CPU: 1_000}),),
    )
