"""Files beside a label GeoTIFF that tell other software the names and colours of its classes."""

from xml.sax.saxutils import quoteattr

from noldo.legend import Legend


def sidecars(legend: Legend) -> dict[str, bytes]:
    """What lies beside a label file, by the end of its name: GeoTIFF itself has no place for class names.

    `.tif.aux.xml` is GDAL's, with the names of all classes; `.qml` is QGIS's default style of the file, without which
    its legend would list all 256 colours that a palette has.
    """
    return {".tif.aux.xml": _category_names(legend), ".qml": _style(legend)}


def _category_names(legend: Legend) -> bytes:
    names = "\n".join(f"      <Category>{name}</Category>" for name in legend.classes)
    return (
        '<PAMDataset>\n  <PAMRasterBand band="1">\n    <CategoryNames>\n'
        f"{names}\n    </CategoryNames>\n  </PAMRasterBand>\n</PAMDataset>\n"
    ).encode()


def _style(legend: Legend) -> bytes:
    entries = "\n".join(
        f'        <paletteEntry value="{value}" color="{colour}" alpha="255" label={quoteattr(name.replace("_", " "))}/>'
        for value, (name, colour) in enumerate(zip(legend.classes, legend.colours, strict=True))
    )
    return (
        "<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n"
        '<qgis version="3.22.0" styleCategories="Symbology">\n  <pipe>\n'
        '    <rasterrenderer type="paletted" band="1" opacity="1" alphaBand="-1" nodataColor="">\n'
        f"      <colorPalette>\n{entries}\n      </colorPalette>\n    </rasterrenderer>\n  </pipe>\n</qgis>\n"
    ).encode()
