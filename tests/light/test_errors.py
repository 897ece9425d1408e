import pytest

from rfdetr_mm_light.errors import InputError, naming


def test_an_error_about_the_content_of_a_file_names_it():
    cause = InputError('it is empty')
    with pytest.raises(InputError, match='^a/b.pth: it is empty$') as error:
        with naming('a/b.pth'):
            raise cause
    assert error.value.__cause__ is cause


@pytest.mark.parametrize('kind', [ValueError, OSError, KeyError])
def test_errors_of_the_program_stay_as_they_are(kind):
    with pytest.raises(kind, match='^.?mine.?$') as error:
        with naming('a.pth'):
            raise kind('mine')
    assert not isinstance(error.value, InputError)
