// What is wrong with the page that is shown: a list of sentences.
(() => {
  const problems = [];
  const shown = element => {
    const style = getComputedStyle(element);
    const box = element.getBoundingClientRect();
    return style.visibility === 'visible' && style.display !== 'none' && box.width > 0 && box.height > 0;
  };
  const channels = color => color.match(/[\d.]+/g).map(Number);
  const luminance = color => {
    const [red, green, blue] = channels(color).map(value => {
      const part = value / 255;
      return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  };
  const contrast = (one, other) => {
    const [dark, light] = [luminance(one), luminance(other)].sort((a, b) => a - b);
    return (light + 0.05) / (dark + 0.05);
  };
  const background = element => {
    for (let at = element; at; at = at.parentElement) {
      const color = getComputedStyle(at).backgroundColor;
      if (channels(color)[3] !== 0) return color;
    }
    return getComputedStyle(document.documentElement).colorScheme.includes('dark') ? 'rgb(18, 18, 18)' : 'rgb(255, 255, 255)';
  };

  let texts = 0;
  for (const element of document.body.querySelectorAll('*')) {
    const has_text = [...element.childNodes].some(node => node.nodeType === 3 && node.data.trim());
    if (!has_text || !shown(element) || ['title', 'desc'].includes(element.tagName)) continue;
    texts += 1;
    const style = getComputedStyle(element);
    const color = element instanceof SVGElement ? style.fill : style.color;
    const ratio = contrast(color, background(element));
    if (!(ratio >= 4.5)) problems.push(`contrast ${ratio} of ${element.tagName}: ${element.textContent.slice(0, 40)}`);
  }
  if (texts < 20) problems.push(`only ${texts} texts are shown`);

  for (const svg of document.querySelectorAll('svg.plot')) {
    const frame = svg.viewBox.baseVal;
    const marks = svg.querySelectorAll('.line, .bar');
    if (!marks.length) problems.push('a plot without lines and bars');
    for (const mark of marks) {
      const box = mark.getBBox();
      const name = `${svg.querySelector('title').textContent} ${mark.getAttribute('class')}`;
      if (mark.getAttribute('d') === '') continue;
      if (box.x < 0 || box.y < 0 || box.x + box.width > frame.width || box.y + box.height > frame.height) {
        problems.push(`${name} leaves the plot`);
      }
      const style = getComputedStyle(mark);
      const paint = mark.classList.contains('bar') ? style.fill : style.stroke;
      if (!(contrast(paint, background(svg)) >= 3)) problems.push(`${name} is hardly visible`);
    }
    const texts = [...svg.querySelectorAll('text')].map(text => text.getBoundingClientRect());
    const outer = svg.getBoundingClientRect();
    for (const [index, box] of texts.entries()) {
      if (box.left < outer.left - 1 || box.right > outer.right + 1 || box.bottom > outer.bottom + 1) {
        problems.push('a label leaves its plot');
      }
      const next = texts[index + 1];
      if (next && box.right > next.left && box.left < next.right && box.bottom > next.top + 3 && box.top < next.bottom - 3) {
        problems.push(`labels overlap in ${svg.querySelector('title').textContent}`);
      }
    }
  }

  const root = document.documentElement;
  if (root.scrollWidth > innerWidth) {
    problems.push(`the page is ${root.scrollWidth} wide on a screen of ${innerWidth}`);
    for (const element of document.body.querySelectorAll('*')) {
      if (element.getBoundingClientRect().right > innerWidth + 1 && !element.closest('.scroll')) {
        problems.push(`too wide: ${element.tagName} ${element.className} ${element.textContent.slice(0, 40)}`);
      }
    }
  }
  if (document.scripts.length) problems.push('there is a script');
  const active = [...document.querySelectorAll('*')].filter(element => [...element.attributes].some(a => a.name.startsWith('on')));
  if (active.length) problems.push('there are event handlers');
  if (document.querySelector('img, iframe, object, embed, form, input')) problems.push('there is foreign content');
  if (typeof hostile !== 'undefined') problems.push('a script ran');
  if (document.compatMode !== 'CSS1Compat' || document.characterSet !== 'UTF-8') problems.push('not read as HTML in UTF-8');
  if (!root.lang || !document.title) problems.push('no language or no title');
  for (const name of ['header', 'nav', 'main', 'footer', 'h1']) {
    if (document.querySelectorAll(name).length !== 1) problems.push(`not one ${name}`);
  }
  return problems;
})()
