import pytest
import torch
from torch import nn

from noldo.training.teacher import Teacher


def network(value: float) -> nn.Module:
    made = nn.Sequential(nn.Linear(2, 2, bias=False), nn.BatchNorm1d(2))
    with torch.no_grad():
        made[0].weight.fill_(value)
    return made


def test_the_first_step_makes_a_copy_and_the_second_the_mean_of_both():
    teacher = Teacher(network(5.0))
    teacher.follow(network(1.0))
    assert torch.equal(teacher.network[0].weight, torch.full((2, 2), 1.0))
    teacher.follow(network(2.0))
    assert torch.equal(teacher.network[0].weight, torch.full((2, 2), 1.5))


def test_from_the_thousandth_step_on_the_share_of_the_past_is_capped():
    teacher, still = Teacher(network(0.0)), network(0.0)
    for _ in range(1000):
        teacher.follow(still)
    teacher.follow(network(1.0))
    assert teacher.network[0].weight[0, 0].item() == pytest.approx(0.001, rel=1e-4)
    teacher.follow(still)
    assert teacher.network[0].weight[0, 0].item() == pytest.approx(0.000999, rel=1e-4)


def test_statistics_are_the_students_and_nothing_of_the_teacher_learns():
    student = network(1.0)
    teacher = Teacher(student)
    student(torch.rand(8, 2)).sum().backward()
    teacher.follow(student)
    assert torch.equal(teacher.network[1].running_mean, student[1].running_mean)
    assert not teacher.network.training
    assert not any(one.requires_grad for one in teacher.network.parameters())


def test_a_teacher_goes_on_from_its_state():
    first, second = Teacher(network(1.0)), Teacher(network(9.0))
    for value in (3.0, 4.0):
        first.follow(network(value))
    second.load_state(first.state())
    for one in (first, second):
        one.follow(network(7.0))
    assert torch.equal(first.network[0].weight, second.network[0].weight)


def test_a_decay_that_is_no_share_is_refused():
    with pytest.raises(ValueError, match="expected 0 to 1"):
        Teacher(network(1.0), decay=1.5)
